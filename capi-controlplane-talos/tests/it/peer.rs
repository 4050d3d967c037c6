//! Talos' own client library against the simulated nodes, over sockets of 127.0.0.1.
