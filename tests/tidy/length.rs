//! No file is too long to read.

use crate::Complaints;
use crate::source::Source;

const FILE_LINES_MAX: usize = 800;

fn too_long(source: &Source) -> Complaints {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX { vec![(lines, format!("more than {FILE_LINES_MAX} lines"))] } else { Vec::new() }
}

#[test]
fn no_file_is_too_long() {
    crate::assert_sources_tidy(too_long);
}

#[test]
fn long_files_are_found() {
    assert_eq!(crate::lines(too_long, ("base", &"x\n".repeat(FILE_LINES_MAX))), []);
    assert_eq!(crate::lines(too_long, ("base", &"x\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
}
