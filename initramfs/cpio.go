package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

// WriteInitramfs writes two concatenated archives, which the kernel unpacks one
// after the other: stored holds what would not shrink (the root), plain; packed
// the rest, zstd-compressed. Size and SHA256 of the entries are set.
func WriteInitramfs(w io.Writer, stored, packed []Entry) error {
	// The kernel finds a plain archive at multiples of four bytes only, so it
	// comes first, and cpio records are padded to that.
	if err := writeCPIO(w, stored); err != nil {
		return err
	}
	var rest bytes.Buffer
	if err := writeCPIO(&rest, packed); err != nil {
		return err
	}
	// One worker: with several, where blocks end depends on the machine.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := z.Write(rest.Bytes()); err != nil {
		return err
	}
	return z.Close()
}

// writeCPIO writes one newc archive. The records are written one by one:
// cpio.WriteRecordsAndDirs would make the parents world-writable.
func writeCPIO(w io.Writer, entries []Entry) error {
	archive := cpio.Newc.Writer(w)
	for i := range entries {
		e := &entries[i]
		name := strings.TrimPrefix(e.Path, "/")
		if name == "" {
			continue // rootfs has its root
		}
		record := cpio.Record{Info: cpio.Info{
			Ino: uint64(i + 1), Name: name, NLink: 1, Mode: uint64(e.Mode.Perm()),
		}}
		switch e.Mode.Type() {
		case 0:
			data, err := e.content()
			if err != nil {
				return err
			}
			record.Mode |= cpio.S_IFREG
			record.FileSize = uint64(len(data))
			record.ReaderAt = bytes.NewReader(data)
		case fs.ModeDir:
			record.Mode |= cpio.S_IFDIR
		case fs.ModeDevice | fs.ModeCharDevice:
			record.Mode |= cpio.S_IFCHR
			record.Rmajor, record.Rminor = e.Major, e.Minor
		default:
			return fmt.Errorf("pack %s: %v is no type for the initramfs", e.Path, e.Mode.Type())
		}
		if err := archive.WriteRecord(record); err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
	}
	return cpio.WriteTrailer(archive)
}
