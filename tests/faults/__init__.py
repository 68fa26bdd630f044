"""A fault campaign: runs are attacked at random moments, and what is lost, doubled or left over is counted.

    __main__   the campaign: its lab, the cases, the table
    case       one case: prepare, run, attack, do what the messages say, count
    attacks    the kinds of attack, each with what undoes its cause
    scene      a project with its database, its secrets, and every command that was run in it
    counting   what databases show: lost, doubled, measured by two
    leftovers  what is still there afterwards: on hosts, and on this machine
    canaries   secrets that must be found nowhere

docs/faults.md has the table of a campaign, and how one case is repeated.
"""
