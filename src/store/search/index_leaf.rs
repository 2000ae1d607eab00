//! The leaves of the index, as FTS5 stores them (`fts5_index.c`, "SEGMENT LEAF PAGE FORMAT").

/// The last term that begins on a leaf; `None` if none does, or if this is not a leaf.
pub(crate) fn last_term(leaf: &[u8]) -> Option<Vec<u8>> {
    let (content, mut term_offsets) =
        leaf.split_at_checked(u16::from_be_bytes([*leaf.get(2)?, *leaf.get(3)?]).into())?;
    let (mut term, mut offset) = (None, 0);
    while !term_offsets.is_empty() {
        // Each offset is the difference from the one before. Each term but the first begins like the one before.
        offset += read_varint(&mut term_offsets)?;
        let mut rest = content.get(offset..)?;
        let kept = if term.is_none() { 0 } else { read_varint(&mut rest)? };
        let added = read_varint(&mut rest)?;
        let bytes: &mut Vec<u8> = term.get_or_insert_default();
        bytes.truncate(kept);
        bytes.extend_from_slice(rest.get(..added)?);
    }
    term
}

/// Reads a number of SQLite's variable length, which is less than the bytes of a leaf.
fn read_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    loop {
        let byte = bytes.split_off_first()?;
        value = value << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
        if value > u16::MAX.into() {
            return None;
        }
    }
}
