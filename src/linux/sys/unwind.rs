//! The stack unwinder that the product does not have.
//!
//! A release build ends on a panic (`panic = "abort"`), and its symbols are stripped, so a backtrace would be a
//! list of question marks. The standard library carries the reader of debug information for it all the same: a
//! quarter of the binary. These functions take the place of the C library's unwinder (the Itanium C++ ABI's
//! `_Unwind_*`); as the walk over the stack ends before its first frame, the linker sees that everything behind it
//! is never used and leaves it out. A panic still prints its message and its place in the source.

use std::ffi::c_void;

/// `_URC_END_OF_STACK` (unwind.h).
const END_OF_STACK: i32 = 5;

/// Walks over no frame: `visit` is never called.
// SAFETY: the standard library is the only caller, and treats the symbol as this very function.
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Backtrace(_visit: *const c_void, _data: *mut c_void) -> i32 {
    END_OF_STACK
}

/// Functions that are only called from inside a walk or while a panic unwinds, of which there is none.
macro_rules! never_called {
    ($($name:ident)*) => {$(
        /// Not reached: see the module.
        // SAFETY: as above.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> usize {
            std::process::abort()
        }
    )*};
}

never_called! {
    _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetCFA _Unwind_FindEnclosingFunction _Unwind_GetDataRelBase
    _Unwind_GetTextRelBase _Unwind_GetRegionStart _Unwind_GetLanguageSpecificData _Unwind_SetGR _Unwind_SetIP
    _Unwind_RaiseException _Unwind_Resume _Unwind_DeleteException
}
