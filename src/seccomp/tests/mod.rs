//! Tests of the compiler as a whole.

mod docker;
mod interpret;
mod profiles;
mod random;
mod reading;
