//! The server: its answers through the router, and its manners on real sockets.

mod answers;
mod limits;
mod models;
mod modes;
mod openapi;
mod page;
mod process;
mod random;
mod records;
mod schema;
mod socket;
mod stub;
