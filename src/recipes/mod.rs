//! The rest of etcd's recipes, on sessions and the same calls as the locks: what is in each is in its own file.
