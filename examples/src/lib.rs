//! Examples live beside this package, one file per thing a reader wants to do.
