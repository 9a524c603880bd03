"""From searches to trained full-size models beside controls: what is trained, and what their losses show. Internal."""
