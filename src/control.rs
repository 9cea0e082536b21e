//! Control: the Unix socket through which the command line talks to a running agent.
