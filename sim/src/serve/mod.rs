//! The simulated store of one member as a server, for whoever wants an etcd without an etcd.

mod single_wire;

pub use single_wire::SingleWire;
