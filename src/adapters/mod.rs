//! The only code that touches the world. Adapters do not import each other.
