//! What `cpufeatures` offers to RustCrypto's crates, answered by the standard library (docs/decisions/0016). The original
//! asks the processor anew at each place that wants to know something: some forty instructions that each leave a virtual
//! machine, a tenth of a run on one small file. The standard library asks once for all.

#[doc(hidden)]
pub use ::std;

/// Makes the module `$name`, which tells whether the processor has all of the features. An `InitToken` is a proof that
/// somebody has asked; here it holds nothing, since every answer comes from the standard library.
#[macro_export]
macro_rules! new {
    ($name:ident, $($feature:tt),+ $(,)?) => {
        mod $name {
            #[derive(Copy, Clone, Debug)]
            pub struct InitToken(());

            impl InitToken {
                pub fn init() -> Self {
                    init()
                }

                pub fn init_get() -> (Self, bool) {
                    init_get()
                }

                #[inline(always)]
                pub fn get(&self) -> bool {
                    get()
                }
            }

            #[inline]
            pub fn init_get() -> (InitToken, bool) {
                (InitToken(()), get())
            }

            #[inline]
            pub fn init() -> InitToken {
                InitToken(())
            }

            #[inline]
            pub fn get() -> bool {
                $($crate::__has!($feature))&&+
            }
        }
    };
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __has {
    ($feature:tt) => {
        $crate::std::arch::is_x86_feature_detected!($feature)
    };
}

#[cfg(target_arch = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __has {
    ($feature:tt) => {
        $crate::std::arch::is_aarch64_feature_detected!($feature)
    };
}

/// Other processors get what every processor can do.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __has {
    ($feature:tt) => {
        false
    };
}
