"""From runs of archetype cities to the world's fleet: design, records of runs, scaling by cohorts, intervals.

`design` says which runs, `records` reads what each car of a run did, `scaling` weighs
cars by cohorts and gives every answer an interval, `answer` puts it together.
"""
