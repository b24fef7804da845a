//! Tests against a real API server and real stores.

mod deploy;
mod election;
mod smoke;
mod up;
