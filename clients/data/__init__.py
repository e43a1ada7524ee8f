"""Shards: one file per data family; ``loaders`` has a row for each.

shards     examples, shards, label sets
manifest   what a server may know of a data set
source     where a node takes shards from, by reference
dataset    what a loader hands over: a source of all shards
"""
