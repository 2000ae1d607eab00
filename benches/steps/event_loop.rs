use super::Report;
pub fn measure(_rows: u64, _report: &mut Report) {}
