package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Query asks the running kernel what a process labelled source may do to an
// object of a class labelled target: the names of the permissions, sorted. The
// answer has the constraints in it, which no tool that reads only the rules
// gives. Source: security/selinux/selinuxfs.c, sel_write_access.
func Query(source, target, class string) ([]string, error) {
	return query(selinuxfs, source, target, class)
}

func query(selinuxfs, source, target, class string) ([]string, error) {
	if strings.ContainsAny(source+target, " \n\x00") {
		return nil, fmt.Errorf("labels %q, %q: white space", source, target)
	}
	if class == "" || strings.ContainsAny(class, "/.\x00") {
		return nil, fmt.Errorf("class %q: no such name", class)
	}
	dir := filepath.Join(selinuxfs, "class", class)
	index, err := readNumber(filepath.Join(dir, "index"))
	if err != nil {
		return nil, fmt.Errorf("class %s: %w", class, err)
	}
	vector, err := transact(filepath.Join(selinuxfs, "access"), fmt.Sprintf("%s %s %d", source, target, index))
	if err != nil {
		return nil, fmt.Errorf("access of %s to %s %s: %w", source, class, target, err)
	}
	// "allowed decided auditallow auditdeny seqno flags", the first four in hex.
	var allowed uint32
	if _, err := fmt.Sscanf(vector, "%x", &allowed); err != nil {
		return nil, fmt.Errorf("access vector %q: %w", vector, err)
	}
	perms, err := os.ReadDir(filepath.Join(dir, "perms"))
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, p := range perms {
		bit, err := readNumber(filepath.Join(dir, "perms", p.Name()))
		if err != nil {
			return nil, err
		}
		if bit >= 1 && bit <= 32 && allowed&(1<<(bit-1)) != 0 {
			names = append(names, p.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// transact writes a question to a selinuxfs file and reads the answer from the
// same descriptor, which is how selinuxfs ties them together.
func transact(path, question string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Write([]byte(question)); err != nil {
		return "", err
	}
	var answer [256]byte
	n, err := f.ReadAt(answer[:], 0)
	if n == 0 {
		return "", fmt.Errorf("read %s: no answer: %w", path, err)
	}
	return string(answer[:n]), nil
}

func readNumber(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
