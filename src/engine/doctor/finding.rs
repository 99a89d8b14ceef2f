//! What has one check found, and if it is a trouble: why does it matter, and what mends it?
//!
//! A trouble without either is of no use to who reads it, so that it cannot be made: [`Finding::warning`] and
//! [`Finding::fault`] begin a sentence that is a [`Finding`] only once it has all three parts.
//!
//! ```text
//! warning, fault ──> Unexplained ──because──> Unmended ──mend, mends──> Finding
//! ok, note ───────────────────────────────────────────────────────────> Finding
//! ```

use serde::Serialize;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works, or may work, worse than it could.
    Warning,
    /// It does not work.
    Fault,
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(
    clippy::manual_non_exhaustive,
    reason = "the attribute says nothing within the crate, where findings are made"
)]
pub struct Finding {
    /// Which check: one of the names in `docs/doctor.md`, which stay.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is the matter, in one sentence without a full stop.
    pub what: String,
    /// Why that matters; each warning and fault says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What mends it, in this order: commands, and lines for the configuration, which begin with `[` or have
    /// ` = ` in them. A line that begins with `#` says what the ones below it are for. Each warning and fault
    /// has some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
    /// Nobody else can name it: every finding is made below.
    #[serde(skip)]
    made_here: (),
}

/// A warning or a fault that does not say yet why it matters.
#[derive(Debug)]
#[must_use]
pub struct Unexplained(Finding);

/// A warning or a fault that does not say yet what mends it.
#[derive(Debug)]
#[must_use]
pub struct Unmended(Finding);

impl Finding {
    fn new(check: &'static str, level: Level, what: String) -> Finding {
        Finding { check, level, what, why: None, mend: Vec::new(), made_here: () }
    }

    /// As it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(check, Level::Ok, what.into())
    }

    /// Worth knowing.
    pub fn note(check: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(check, Level::Note, what.into())
    }

    /// It works worse than it could.
    pub fn warning(check: &'static str, what: impl Into<String>) -> Unexplained {
        Unexplained(Finding::new(check, Level::Warning, what.into()))
    }

    /// It does not work.
    ///
    /// ```
    /// use farol::engine::doctor::Finding;
    /// let found: Finding = Finding::fault("pins", "there is no chip").because("the lamp stays dark").mend("ls /dev");
    /// ```
    ///
    /// Without why it matters, or what mends it, it is no finding:
    ///
    /// ```compile_fail
    /// # use farol::engine::doctor::Finding;
    /// let found: Finding = Finding::fault("pins", "there is no chip").because("the lamp stays dark");
    /// ```
    ///
    /// ```compile_fail
    /// # use farol::engine::doctor::Finding;
    /// let found: Finding = Finding::fault("pins", "there is no chip").mend("ls /dev");
    /// ```
    pub fn fault(check: &'static str, what: impl Into<String>) -> Unexplained {
        Unexplained(Finding::new(check, Level::Fault, what.into()))
    }

    /// Says why it matters.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Finding {
        Finding { why: Some(why.into()), ..self }
    }

    /// Adds a line that mends it.
    #[must_use]
    pub fn mend(mut self, line: impl Into<String>) -> Finding {
        self.mend.push(line.into());
        self
    }

    /// Adds several, or none.
    #[must_use]
    pub fn mends<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Finding {
        self.mend.extend(lines.into_iter().map(Into::into));
        self
    }
}

impl Unexplained {
    /// Says why it matters.
    pub fn because(self, why: impl Into<String>) -> Unmended {
        Unmended(self.0.because(why))
    }
}

impl Unmended {
    /// Says what mends it, or the first line of that.
    #[must_use]
    pub fn mend(self, line: impl Into<String>) -> Finding {
        self.0.mend(line)
    }

    /// Says what mends it, or the first lines of that.
    #[must_use]
    pub fn mends<T: Into<String>, const N: usize>(self, lines: [T; N]) -> Finding {
        const { assert!(N > 0, "there is something to do") };
        self.0.mends(lines)
    }
}
