//! Cuts texts between characters.

/// The beginning of the character that has this byte, or the end of the text.
pub(crate) fn char_boundary(text: &str, byte: usize) -> usize {
    let mut boundary = byte.min(text.len());
    while !text.is_char_boundary(boundary) {
        boundary -= 1;
    }
    boundary
}

/// The longest beginning of a text that has at most `bytes_max` bytes.
pub(crate) fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..char_boundary(text, bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        let table = [
            ("", [0, 0, 0, 0, 0, 0, 0]),
            ("ab", [0, 1, 2, 2, 2, 2, 2]),
            ("a\u{fc}\u{fc}b", [0, 1, 1, 3, 3, 5, 6]),
            ("a\u{1f600}b", [0, 1, 1, 1, 1, 5, 6]),
        ];
        for (text, boundaries) in table {
            for (byte, boundary) in boundaries.into_iter().enumerate() {
                assert_eq!(char_boundary(text, byte), boundary, "{text:?} at {byte}");
                assert_eq!(beginning(text, byte), &text[..boundary], "{text:?} through {byte}");
            }
            assert_eq!(beginning(text, usize::MAX), text);
        }
    }
}
