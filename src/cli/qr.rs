//! A QR code made of text, which a phone reads from the screen.
//!
//! Two modules share a character cell: the upper and the lower half block. On a terminal the colours
//! are set, so that it is dark on light whatever the terminal's own are; elsewhere light is drawn and
//! dark is left out, which is right on the usual dark background.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Light modules on each side, without which readers do not find the code (ISO/IEC 18004 §9.1 asks for
/// four).
const QUIET: usize = 4;

/// The code of a text; `None` when it is too long for one, past 2,953 bytes.
pub fn terminal(text: &str, has_colours: bool) -> Option<String> {
    // The least of the four levels of redundancy: a screen has no scratches, and the code stays small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let side = code.width() + 2 * QUIET;
    let is_light = |x: usize, y: usize| {
        let inside = QUIET..QUIET + code.width();
        !(inside.contains(&x) && inside.contains(&y)) || code[(x - QUIET, y - QUIET)] == Color::Light
    };
    let mut drawn = String::new();
    for y in (0..side).step_by(2) {
        // Bright white is not everywhere: where it is unknown, the plain white before it stays.
        drawn += if has_colours { "\x1b[30;47;107m" } else { "" };
        for x in 0..side {
            let cell = (is_light(x, y), is_light(x, y + 1));
            drawn.push(if has_colours { dark_on_light(cell) } else { light_on_dark(cell) });
        }
        drawn += if has_colours { "\x1b[0m" } else { "" };
        // Writing to a text cannot fail.
        let _ = writeln!(drawn);
    }
    Some(drawn)
}

fn dark_on_light((upper_is_light, lower_is_light): (bool, bool)) -> char {
    light_on_dark((!upper_is_light, !lower_is_light))
}

fn light_on_dark(is_light: (bool, bool)) -> char {
    match is_light {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the cells back into rows of modules, true for light.
    fn modules(drawn: &str, ink_is_light: bool) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let cells = line.trim_start_matches("\x1b[30;47;107m").trim_end_matches("\x1b[0m");
            let row = |inked: [char; 2]| cells.chars().map(|c| inked.contains(&c) == ink_is_light).collect();
            rows.push(row(['█', '▀']));
            rows.push(row(['█', '▄']));
        }
        rows
    }

    #[test]
    fn the_drawing_is_the_code_with_a_quiet_zone() {
        let text = "https://farol.example/#1.00112233445566778899aabbccddeeff.open..wss://b";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).expect("it is short");
        let light = modules(&terminal(text, false).expect("it is short"), true);
        assert_eq!(modules(&terminal(text, true).expect("it is short"), false), light);
        let side = code.width() + 8;
        assert!(light.len() >= side && light.iter().all(|row| row.len() == side));
        for (y, row) in light.iter().enumerate() {
            for (x, module) in row.iter().enumerate() {
                let is_quiet = |at: usize| at < 4 || at >= 4 + code.width();
                let expected = is_quiet(x) || is_quiet(y) || code[(x - 4, y - 4)] == Color::Light;
                assert_eq!(*module, expected, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_has_no_code() {
        assert!(terminal(&"x".repeat(2_953), false).is_some());
        assert!(terminal(&"x".repeat(2_954), false).is_none());
    }
}
