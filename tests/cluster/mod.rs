//! Tests against a real API server and real stores.

mod canary;
mod deploy;
mod election;
mod encrypted_source;
mod external_secret;
mod key_retirement;
mod key_services;
mod keys;
mod keys_beside_real;
mod outage;
mod render;
mod sealed_beside_real;
mod sealed_drop_in;
mod sealed_endpoints;
mod sealed_restart;
mod sealed_secret;
mod smoke;
mod up;
