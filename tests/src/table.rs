//! Sentences by name, so that another process can find its part.

use ipc_transports::Transport;

use crate::end::End;

/// One sentence, for one transport.
pub type Sentence<T> = (&'static str, fn(End<T>));

/// The sentences of one list as a table: `table!(T, always pollable)`.
#[macro_export]
macro_rules! table {
    ($transport:ty; $($list:ident)*) => {{
        let mut table: Vec<$crate::table::Sentence<$transport>> = Vec::new();
        $($crate::sentences!($list, $crate::table_rows, (table, $transport));)*
        table
    }};
}

/// The rows of one list.
#[doc(hidden)]
#[macro_export]
macro_rules! table_rows {
    (($table:ident, $transport:ty) $($group:ident::$sentence:ident)*) => {
        $($table.push((
            concat!(stringify!($group), "::", stringify!($sentence)),
            $crate::contract::$group::$sentence::<$transport>,
        ));)*
    };
}

/// Names of the sentences of lists: `names!(always pollable)`.
#[macro_export]
macro_rules! names {
    ($($list:ident)*) => {{
        let mut names: Vec<&'static str> = Vec::new();
        $($crate::sentences!($list, $crate::name_rows, (names));)*
        names
    }};
}

/// The rows of one list.
#[doc(hidden)]
#[macro_export]
macro_rules! name_rows {
    (($names:ident) $($group:ident::$sentence:ident)*) => {
        $($names.push(concat!(stringify!($group), "::", stringify!($sentence)));)*
    };
}

/// The sentence called `name`.
pub fn find<T: Transport>(table: &[Sentence<T>], name: &str) -> Option<fn(End<T>)> {
    table.iter().find(|(known, _)| *known == name).map(|(_, sentence)| *sentence)
}
