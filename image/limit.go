package image

import (
	"fmt"
	"slices"
	"strings"

	"casemate/initramfs"
)

// checkLimit fails when what a node loads over the network is too large, and
// says what is large in it.
func checkLimit(limit int64, files []staged, root []initramfs.Entry) error {
	var sum int64
	var parts []string
	for _, f := range files {
		if f.name == "pxe/vmlinuz" || f.name == "pxe/initramfs.img" {
			sum += f.size
			parts = append(parts, fmt.Sprintf("%s %d", f.name, f.size))
		}
	}
	if sum <= limit {
		return nil
	}
	largest := slices.Clone(root)
	slices.SortStableFunc(largest, func(a, b initramfs.Entry) int { return int(b.Size - a.Size) })
	for _, e := range largest[:min(10, len(largest))] {
		parts = append(parts, fmt.Sprintf("%s (of %s) %d before compression", e.Path, e.Origin, e.Size))
	}
	return fmt.Errorf("the image is too large: vmlinuz and initramfs.img have %d bytes, the limit is %d. The largest parts, in bytes:\n  %s", sum, limit, strings.Join(parts, "\n  "))
}
