//! The server: its answers through the router, and its manners on real sockets.

mod answers;
mod limits;
mod process;
mod random;
mod socket;
mod stub;
