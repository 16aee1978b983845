//! The server: its answers through the router.

mod answers;
mod limits;
mod random;
mod stub;
