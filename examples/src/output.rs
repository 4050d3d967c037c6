//! How programs end when nobody reads what they print.

use std::panic;

/// Lets a program end without a word when its output is not read any more, as by `| head`, where
/// `println!` would report a panic. Everything is dropped as ever. Called once, first in `main`.
pub fn end_quietly_unread() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        let unread = text.is_some_and(|text| {
            text.starts_with("failed printing to stdout") && text.contains("Broken pipe")
        });
        if !unread {
            usual(panic);
        }
    }));
}
