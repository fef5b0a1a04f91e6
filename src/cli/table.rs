//! How tables for people look, the same in all commands: as Markdown, so that they can be pasted
//! into a note.

use std::ops::Range;

use comfy_table::{CellAlignment, Table, presets};

/// An empty table.
pub fn new<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

/// Puts the figures in these columns under each other.
pub fn align_right(table: &mut Table, columns: Range<usize>) {
    let count = columns.len();
    for column in table.column_iter_mut().skip(columns.start).take(count) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
