//! `make up`: the rig for a person.
