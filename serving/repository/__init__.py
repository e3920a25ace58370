"""The folder of bundles that `--repository` names: what it holds, and what of that is loaded.

policy.py       which versions of a name should be loaded
folders.py      which folders there are, and what they look like from outside
checks.py       whether it holds what the settings name
board.py        what has become of each version: for the index, the metrics and the log
transitions.py  a bundle becomes a model, beside those that answer; a model ends
control.py      puts these together: what is loaded and unloaded, one after another
triggers.py     when the folder is looked at
rollouts.py     the labels of versions: read, checked against what is loaded, changed by calls
rollout_file.py, rollout_yaml.py    the files that hold them
"""
