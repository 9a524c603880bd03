"""Makes the site of the documents: what pages of reference say is taken from the code when the site is built.

A page names what belongs in it (`<!-- made: commands -->`), and `filling` puts it there. `hooks` is what MkDocs calls;
everything else needs no MkDocs, so that the ordinary tests try it.
"""
