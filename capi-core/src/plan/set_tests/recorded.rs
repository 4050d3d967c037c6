//! What the Go originals left: read, planned as nothing to do, and their words said alike.
