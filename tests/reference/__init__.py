"""`python -m tests.reference docs/reference.md`: the reference of every public name, written from the docstrings.

    surface      which names are public, and under which headings they are told
    docstrings   a docstring -> its parts: what it says, arguments, answer, errors, an example
    signatures   a call -> its signature, in one line or several
    attributes   a class -> its public attributes, with types, defaults and texts
    members      a class -> its public calls and properties
    limits       arguments -> the bounds that hold for them; the table of all bounds
    writing      the Markdown

Rule: nothing is said here that the code says: texts are docstrings, limits are those of `kernel/bounds.py`, errors
those of `errors.py`, exit statuses those of the command line. The same tree gives the same bytes, whichever Python runs
it: what is read is source text and strings, never a `repr` that holds an address.
It lies beside the tests since it documents the engine and all adapters, and nothing that is shipped imports it.
"""
