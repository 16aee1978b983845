//! Requests of this program to other servers, over HTTP and HTTPS.
//!
//! The room knows no server and no format. [`WebClient`] keeps three promises for all who send requests
//! with addresses that other people wrote, such as those of images in the tasks of a labeling tool:
//!
//! - No request goes to a private address, or to the one that hands out a machine's credentials, unless
//!   [`AddressRule`] names its host. Addresses are checked when a connection is made, so that a name whose
//!   address changes meanwhile gains nothing.
//! - An [`Authorization`] goes to its own server alone, and along no redirect.
//! - No answer is longer than its reader allows.

mod address;
mod authorization;
mod client;
mod error;
mod reference;
#[cfg(test)]
mod tests;

pub use self::address::AddressRule;
pub use self::authorization::Authorization;
pub use self::client::{
    AnswerReader, DataAnswer, WebAnswer, WebClient, WebClientSettings, WebRequest,
};
pub use self::error::{WebError, WebErrorKind, show_url};
pub use self::reference::{name_reference, short_digest};
pub use reqwest::Url;
