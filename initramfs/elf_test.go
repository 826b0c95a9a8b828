package initramfs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeELF writes the least that the dynamic linker's tables consist of: a
// program's interpreter if any, what it needs, and its run path.
func writeELF(t *testing.T, root, name, interp, runpath string, needed ...string) {
	t.Helper()
	const headerSize, phSize, shSize = 64, 56, 64
	strtab := []byte{0}
	add := func(s string) uint64 {
		at := len(strtab)
		strtab = append(append(strtab, s...), 0)
		return uint64(at)
	}
	var dynamic []elf.Dyn64
	for _, n := range needed {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: add(n)})
	}
	if runpath != "" {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_RUNPATH), Val: add(runpath)})
	}
	dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NULL)})

	var body bytes.Buffer
	base := uint64(headerSize + phSize)
	put := func(v any) (at, size uint64) {
		at = base + uint64(body.Len())
		if err := binary.Write(&body, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		return at, base + uint64(body.Len()) - at
	}
	names := add(".dynamic")
	interpAt, interpSize := put(append([]byte(interp), 0))
	dynAt, dynSize := put(dynamic)
	strAt, strSize := put(strtab)
	sections, _ := put([]elf.Section64{
		{},
		{Name: uint32(names), Type: uint32(elf.SHT_DYNAMIC), Off: dynAt, Size: dynSize, Link: 2, Entsize: 16},
		{Type: uint32(elf.SHT_STRTAB), Off: strAt, Size: strSize},
	})
	program := elf.Prog64{Type: uint32(elf.PT_NULL)}
	if interp != "" {
		program = elf.Prog64{Type: uint32(elf.PT_INTERP), Off: interpAt, Filesz: interpSize}
	}
	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: headerSize,
		Phoff: headerSize, Phentsize: phSize, Phnum: 1, Shoff: sections, Shentsize: shSize, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	var file bytes.Buffer
	for _, v := range []any{header, program, body.Bytes()} {
		if err := binary.Write(&file, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestELFClosure(t *testing.T) {
	const loader, lib = "/lib64/ld.so.2", "usr/lib/x86_64-linux-gnu/"
	root := t.TempDir()
	writeELF(t, root, lib+"ld.so.2", "", "")
	writeELF(t, root, lib+"libc.so.6", "", "", "ld.so.2")
	writeELF(t, root, lib+"libz.so.1.3", "", "", "libc.so.6")
	writeELF(t, root, "usr/lib/prog/libown.so", "", "", "libz.so.1")
	writeELF(t, root, "usr/bin/prog", loader, "$ORIGIN/../lib/prog", "libown.so", "libc.so.6")
	writeELF(t, root, "usr/bin/static", "", "")
	writeELF(t, root, lib+"plugin.so", "", "", "libz.so.1")
	writeELF(t, root, lib+"broken.so", "", "", "libgone.so.2")
	writeELF(t, root, "usr/bin/noloader", "/lib64/other.so", "")
	if err := os.MkdirAll(filepath.Join(root, "usr/lib64"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		lib + "libz.so.1": "libz.so.1.3", "usr/lib64/ld.so.2": "../lib/x86_64-linux-gnu/ld.so.2",
		"lib64": "usr/lib64", "lib": "usr/lib",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}

	objects, err := ELFClosure(root, []string{"usr/bin/prog", "usr/bin/static", lib + "plugin.so"})
	var got []string
	for _, o := range objects {
		got = append(got, o.Path+" "+o.Source)
	}
	want := []string{
		"usr/bin/prog usr/bin/prog",
		"usr/bin/static usr/bin/static",
		"usr/lib/prog/libown.so usr/lib/prog/libown.so",
		lib + "libc.so.6 " + lib + "libc.so.6",
		lib + "libz.so.1 " + lib + "libz.so.1.3", // the soname, with what is behind it
		lib + "plugin.so " + lib + "plugin.so",
		"usr/lib64/ld.so.2 " + lib + "ld.so.2", // once, though libc needs it by its soname
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ELFClosure = %q, %v; want %q", got, err, want)
	}

	for file, want := range map[string][]string{
		lib + "broken.so":  {"libgone.so.2", lib + "broken.so"},
		"usr/bin/noloader": {"usr/lib64/other.so", "usr/bin/noloader"},
		"usr/bin/nonesuch": {"usr/bin/nonesuch"},
	} {
		_, err := ELFClosure(root, []string{file})
		for _, name := range want {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("ELFClosure(%s) = %v; want an error that names %s", file, err, name)
			}
		}
	}
}
