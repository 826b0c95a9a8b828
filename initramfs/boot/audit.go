package boot

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"casemate/initramfs/boot/halt"

	"golang.org/x/sys/unix"
)

// auditLog writes the kernel's audit records about SELinux to the node's log,
// all of them: printk drops some when there are many.
type auditLog struct {
	write func(line string)
	seen  map[string]bool // serial numbers read from the kernel log
}

// Record types to keep (linux/audit.h). SYSCALL, PATH and PROCTITLE, which come
// along with a denial, are left out.
func keepAudit(typ int) bool {
	switch {
	case typ >= 1400 && typ <= 1499: // AVC, SELINUX_ERR, MAC_*
		return true
	case typ == 1107 || typ == 1108: // USER_AVC, USER_SELINUX_ERR
		return true
	case typ == 1326 || typ == 1701: // SECCOMP, ANOM_ABEND: a process was killed
		return true
	}
	return false
}

// startAudit joins the kernel's audit multicast group, then takes from the
// kernel log in file kmsg what was denied before. That order leaves no gap.
func startAudit(kmsg string, write func(line string), logf func(string, ...any)) error {
	fd, err := multicast(unix.NETLINK_AUDIT, unix.AUDIT_NLGRP_READLOG)
	if err != nil {
		return err
	}
	a := &auditLog{write: write, seen: map[string]bool{}}
	early, err := readKmsg(kmsg)
	for _, line := range early {
		a.kernelLine(line)
	}
	go func() {
		defer halt.OnPanic()
		receive(fd, a.message, func(err error) { logf("audit: records lost: %v", err) })
	}()
	return err
}

// kernelLine takes a line such as "audit: type=1400 audit(1.234:5): avc: ...".
func (a *auditLog) kernelLine(line string) {
	rest, ok := strings.CutPrefix(line, "audit: type=")
	if !ok {
		return
	}
	num, text, _ := strings.Cut(rest, " ")
	typ, err := strconv.Atoi(num)
	if err != nil || !keepAudit(typ) {
		return
	}
	a.seen[serial(text)] = true
	a.write(line)
}

// message takes one netlink message. The audit subsystem puts one record into
// each, and does not always count its own header into the length.
func (a *auditLog) message(b []byte) {
	if len(b) < unix.NLMSG_HDRLEN {
		return
	}
	typ := int(binary.NativeEndian.Uint16(b[4:]))
	text := strings.TrimRight(string(b[unix.NLMSG_HDRLEN:]), "\x00\n")
	if !keepAudit(typ) || a.seen[serial(text)] {
		return
	}
	a.write(fmt.Sprintf("audit: type=%d %s", typ, text))
}

// serial gives "audit(1.234:5)", which tells records apart but for their parts.
func serial(text string) string {
	s, _, _ := strings.Cut(text, ": ")
	return s
}

// readKmsg gives the text of the records that the kernel log has now.
func readKmsg(file string) ([]string, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	var lines []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(fd, buf) // one record each
		switch {
		case err == unix.EPIPE: // records were overwritten while we read
			continue
		case err == unix.EAGAIN || n == 0 && err == nil:
			return lines, nil
		case err != nil:
			return lines, &os.PathError{Op: "read", Path: file, Err: err}
		}
		lines = append(lines, kmsgTexts(buf[:n])...)
	}
}

// kmsgTexts takes "PRI,SEQ,TIME,FLAGS;text\n KEY=VALUE\n" apart.
func kmsgTexts(record []byte) []string {
	var texts []string
	for s := bufio.NewScanner(bytes.NewReader(record)); s.Scan(); {
		if strings.HasPrefix(s.Text(), " ") {
			continue
		}
		if _, text, ok := strings.Cut(s.Text(), ";"); ok {
			texts = append(texts, text)
		}
	}
	return texts
}
