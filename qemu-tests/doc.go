// Package qemutests boots the built image in QEMU and runs guests in it. It has
// nothing but tests; what they are made of is in package lab.
//
// The tests need the output of `make image`: CASEMATE_OUT names its directory.
// Without that they skip and say so; with it, none does.
package qemutests
