//! Arguments and what they mean: [`Args`] are text from the command line or the environment,
//! [`Config`] is what is decided from them.

mod addresses;
mod decided;
mod flags;

pub(crate) use addresses::parse as parse_address;
pub use decided::database_path;
pub(crate) use decided::{Config, Database, Http, Page, Secret};
pub use flags::{Args, Command};
