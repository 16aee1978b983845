//! One file per subcommand; each wires rooms together.
