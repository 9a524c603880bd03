"""Makes a folder of tokens of files of text, by as many processes of one machine as are started on it.

`python -m aira_evaluator.pretrain.corpus FOLDER` carries out FOLDER's request (`aira_contract.token_making`), which
`aira-bench scale data` writes. Not covered: downloads, several machines.
"""
