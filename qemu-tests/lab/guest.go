package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

// Guest is the kernel and initramfs of the test guest (package guest), "a guest
// that others built": a stock kernel of the distribution and one program.
type Guest struct {
	Kernel, Initrd string // files
}

// Cmdline is the kernel command line for a guest of that name.
func (Guest) Cmdline(name string) string {
	// The serial console takes most of the time of a boot under emulation: quiet.
	return "console=ttyS0 quiet panic=-1 guest.name=" + name
}

// guestModules in load order. Debian's kernel has virtio and its PCI transport built in.
var guestModules = []string{
	"virtio_blk",
	"failover", "net_failover", "virtio_net",
	"button", "evdev",
}

// BuildGuest makes the guest's files in dir from the kernel in the tools' tree.
// It needs the Go toolchain and runs in the casemate module.
func BuildGuest(ctx context.Context, tools Tools, dir string) (Guest, error) {
	g := Guest{Kernel: filepath.Join(dir, "guest-vmlinuz"), Initrd: filepath.Join(dir, "guest-initramfs.img")}
	kernels, _ := filepath.Glob(tools.Node.Path("boot/vmlinuz-*"))
	if len(kernels) == 0 {
		return g, fmt.Errorf("build the guest: no kernel in %s", tools.Node.Path("boot"))
	}
	slices.Sort(kernels)
	kernel := kernels[len(kernels)-1]
	b, err := os.ReadFile(kernel)
	if err != nil {
		return g, err
	}
	if err := os.WriteFile(g.Kernel, b, 0o644); err != nil {
		return g, err
	}

	init := filepath.Join(dir, "guest-init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, "casemate/qemu-tests/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return g, fmt.Errorf("build the guest's init: %w: %s", err, out)
	}
	program, err := os.ReadFile(init)
	if err != nil {
		return g, err
	}
	release := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	modules, err := readModules(tools.Node.Path("usr/lib/modules/"+release), guestModules)
	if err != nil {
		return g, err
	}
	return g, os.WriteFile(g.Initrd, guestArchive(program, modules), 0o644)
}

// guestArchive is the guest's initramfs. It is not compressed: to load a few
// megabytes costs a nested guest less than to unpack them.
func guestArchive(program []byte, modules []module) []byte {
	records := []cpio.Record{cpio.StaticFile("init", string(program), 0o755)}
	for _, d := range []string{"dev", "proc", "sys", "modules"} {
		records = append(records, cpio.Directory(d, 0o755))
	}
	records = append(records, cpio.CharDev("dev/console", 0o600, 5, 1))
	var order string
	for _, m := range modules {
		records = append(records, cpio.StaticFile("modules/"+m.name, string(m.data), 0o644))
		order += m.name + "\n"
	}
	return Archive(append(records, cpio.StaticFile("modules/order", order, 0o644))...)
}

// Archive is an uncompressed cpio segment with these records. The kernel unpacks
// segments one after the other, so that one appended to an initramfs replaces
// files in it.
func Archive(records ...cpio.Record) []byte {
	var buf bytes.Buffer
	w := cpio.Newc.Writer(&buf)
	// Writing to memory does not fail.
	_ = cpio.WriteRecords(w, records)
	_ = cpio.WriteTrailer(w)
	for buf.Len()%512 != 0 { // a segment starts 4-byte aligned; cpio's habit is 512
		buf.WriteByte(0)
	}
	return buf.Bytes()
}

type module struct {
	name string // NAME.ko
	data []byte
}

// readModules finds modules by name below a release's module directory and
// decompresses them.
func readModules(dir string, names []string) ([]module, error) {
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, _ os.DirEntry, err error) error {
		name, _, ok := strings.Cut(filepath.Base(path), ".ko")
		if ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var modules []module
	for _, n := range names {
		path, ok := found[n]
		if !ok {
			return nil, fmt.Errorf("module %s: no such file below %s", n, dir)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		var r io.Reader = f
		if strings.HasSuffix(path, ".xz") {
			r, err = xz.NewReader(f)
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(r)
		}
		f.Close()
		if err != nil {
			return nil, &os.PathError{Op: "decompress", Path: path, Err: err}
		}
		modules = append(modules, module{n + ".ko", data})
	}
	return modules, nil
}
