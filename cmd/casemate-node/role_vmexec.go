package main

import "casemate/vmhost/qemu"

func init() {
	// Never returns: it becomes QEMU, or reports why not and exits.
	roles["vmexec"] = func() error { qemu.Exec(); return nil }
}
