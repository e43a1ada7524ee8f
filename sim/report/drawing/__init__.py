"""The figures: each is written as SVG and PNG, and given back as SVG to put into a page.

The same numbers give the same bytes: no dates, salted ids, and positions that depend on nothing but what is shown.
"""
