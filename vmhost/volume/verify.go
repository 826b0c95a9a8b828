package volume

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"casemate/policy"
)

// verifyMount checks that target is the root of an NFS mount of d whose files
// are labelled context: by the label of its root directory, and by the options
// of its superblock.
func verifyMount(d Directory, target, context string) error {
	fd, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", target, err)
	}
	defer unix.Close(fd)
	label, err := policy.FileLabel(target)
	if err != nil {
		return err
	}
	if label != context {
		return fmt.Errorf("%s is labelled %s, not %s", target, label, context)
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return fmt.Errorf("statx %s: %w", target, err)
	}
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	m, err := findMount(string(table), st.Mnt_id)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	want := []struct{ what, got, want string }{
		{"file system", m.fstype, "nfs4"},
		// Not the server's name: it is that of the VM's first mount, when the
		// document names one server in two ways.
		{"directory", m.source[strings.LastIndex(m.source, ":")+1:], d.Path},
		{"context", m.options["context"], context},
		{"addr", m.options["addr"], d.Addr.Addr().String()},
		{"vers", m.options["vers"], "4.2"},
		{"sec", m.options["sec"], "sys"},
	}
	for _, w := range want {
		if w.got != w.want {
			return fmt.Errorf("%s is mounted with %s %q, not %q", target, w.what, w.got, w.want)
		}
	}
	return nil
}

// mountEntry is what a line of mountinfo says about a superblock.
type mountEntry struct {
	fstype, source string
	options        map[string]string // of the superblock; a flag has the value ""
}

// findMount finds a mount by its id in the text of /proc/PID/mountinfo:
//
//	36 35 98:0 /root /mountpoint rw,noatime [optional fields...] - nfs4 host:/dir rw,vers=4.2,context="..."
func findMount(table string, id uint64) (mountEntry, error) {
	prefix := strconv.FormatUint(id, 10) + " "
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		_, rest, ok := strings.Cut(line, " - ")
		f := strings.Fields(rest)
		if !ok || len(f) != 3 {
			return mountEntry{}, fmt.Errorf("mountinfo line %q is not understood", line)
		}
		return mountEntry{unescape(f[0]), unescape(f[1]), splitOptions(f[2])}, nil
	}
	return mountEntry{}, fmt.Errorf("mount %d is not in mountinfo", id)
}

// splitOptions splits at commas that are not in double quotes. Of an option
// given twice the first counts: the security module prints before the file
// system, whose values may come from a server.
func splitOptions(s string) map[string]string {
	options := make(map[string]string)
	quoted := false
	for _, o := range strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	}) {
		key, value, _ := strings.Cut(o, "=")
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		if _, ok := options[key]; !ok {
			options[key] = unescape(value)
		}
	}
	return options
}

// unescape undoes the kernel's octal escapes (\040 for a blank).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
