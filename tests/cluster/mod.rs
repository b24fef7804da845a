//! Tests against a real API server and real stores.

mod smoke;
mod up;
