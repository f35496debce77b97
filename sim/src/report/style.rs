//! The few colours. `anstream` takes them out where the output is no terminal, or `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};

/// What is good.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What is bad.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What deserves a look.
pub const NOTICE: Style = AnsiColor::Yellow.on_default();
/// What names something.
pub const NAME: Style = AnsiColor::Cyan.on_default();
/// What is beside the point.
pub const FAINT: Style = Style::new().dimmed();

/// Text in a style.
pub fn styled(style: Style, text: impl std::fmt::Display) -> impl std::fmt::Display {
    format!("{style}{text}{style:#}")
}
