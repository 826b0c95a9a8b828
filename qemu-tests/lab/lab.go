// Package lab boots machines in QEMU and runs what they need around them: an
// NFS server, an HTTP server for files, guest images. The tests, `casemate run`
// and `casemate demo` are made of it. Nothing in it needs root, and every server
// listens on the loopback only; a machine reaches them as Gateway.
//
// It is not for production machines, and it never uses /dev/kvm of the host
// unless CASEMATE_ACCEL says so: a device node that opens is no proof that guests
// run behind it. KVM is tested all the same, nested: QEMU's own emulation (TCG)
// of an AMD CPU offers SVM to the kernel under test.
//
// Every process that the lab starts ends with the program that started it, even
// when that is killed, and is stopped by its own pid.
package lab

import (
	"context"

	"casemate/image"
	"casemate/image/debian"
)

// Gateway is the address under which a machine reaches the host's loopback
// (QEMU's user-mode network).
const Gateway = "10.0.2.2"

// Tools are the unpacked packages that the lab runs programs from.
type Tools struct {
	Node  *debian.Tree // QEMU and its firmware, and the kernel of guests
	Trial *debian.Tree // the NFS server
}

// OpenTools gives the trees that images are built from. What the cache does not
// have is fetched.
func OpenTools(ctx context.Context) (Tools, error) {
	trees, err := image.Trees(ctx, "node", "trial")
	if err != nil {
		return Tools{}, err
	}
	return Tools{trees["node"], trees["trial"]}, nil
}
