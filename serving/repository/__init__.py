"""The folder of bundles that `--repository` names: what it holds, and what of that is loaded.

policy.py    which versions of a name should be loaded
folders.py   which folders there are, and what they look like from outside
board.py     what has become of each version: for the index, the metrics and the log
stage.py     a bundle becomes a model, beside those that answer; a model goes
control.py   puts these together: what is to be loaded and unloaded, one after another
triggers.py  when to look again
rollout_yaml.py, rollout_file.py
             what a file of labels says, and how one of them is changed
rollouts.py  the labels that hold: read, checked against what is loaded, changed by calls
"""
