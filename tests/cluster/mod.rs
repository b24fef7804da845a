//! Tests against a real API server and real stores.

mod deploy;
mod election;
mod external_secret;
mod outage;
mod render;
mod sealed_drop_in;
mod sealed_secret;
mod smoke;
mod up;
