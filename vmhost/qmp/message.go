package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// Limits on what QEMU may send.
const (
	// MaxMessage is the longest message in bytes. query-qmp-schema of QEMU 10.0
	// takes about 0.2 MiB, query-named-block-nodes of a long backing chain more.
	MaxMessage = 16 << 20
	// MaxDecode is the longest reply that Execute decodes into anything but a
	// *json.RawMessage: 16 MiB of "{}" would be gigabytes of structs.
	MaxDecode = 1 << 20
	// MaxEvent is the longest event; QEMU's own stay far below. Longer ones are
	// dropped.
	MaxEvent = 8 << 10
)

type kind int

const (
	kindGreeting kind = iota + 1
	kindEvent
	kindReply
)

// message is one line from QEMU.
type message struct {
	kind    kind
	raw     []byte         // the whole line
	version goqemu.Version // greeting
	id      string         // reply
	ret     json.RawMessage
	err     *Error // reply; Command is empty
}

// parse says what a line is. An error means that the peer does not speak QMP.
func parse(line []byte) (message, error) {
	var m struct {
		QMP *struct {
			Version goqemu.Version `json:"version"`
		} `json:"QMP"`
		Event  *string         `json:"event"`
		ID     json.RawMessage `json:"id"`
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Class string `json:"class"`
			Desc  string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("QMP message %s: %w", excerpt(line), err)
	}
	msg := message{raw: line}
	kinds := 0
	if m.QMP != nil {
		msg.kind, msg.version = kindGreeting, m.QMP.Version
		msg.version.Package = printable(msg.version.Package)
		kinds++
	}
	if m.Event != nil && *m.Event != "" {
		msg.kind = kindEvent
		kinds++
	}
	if m.Return != nil {
		msg.kind, msg.ret = kindReply, m.Return
		kinds++
	}
	if m.Error != nil {
		msg.kind, msg.err = kindReply, &Error{Class: printable(m.Error.Class), Desc: printable(m.Error.Desc)}
		kinds++
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("QMP message %s: want exactly one of QMP, event, return, error", excerpt(line))
	}
	if msg.kind == kindReply {
		// Our commands are valid JSON with an id, so QEMU has it to return.
		if err := json.Unmarshal(m.ID, &msg.id); err != nil || msg.id == "" {
			return message{}, fmt.Errorf("QMP reply %s: no id", excerpt(line))
		}
	}
	return msg, nil
}

// printable cuts a text of QEMU's to what may go into a log: a line break in it
// would forge one.
func printable(s string) string {
	const most = 1024
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// excerpt quotes the beginning of a line for an error.
func excerpt(line []byte) string {
	if len(line) > 80 {
		return fmt.Sprintf("%q...", line[:80])
	}
	return fmt.Sprintf("%q", line)
}

var errTooLong = fmt.Errorf("QMP message longer than %d bytes", MaxMessage)

// lineReader reads lines of up to MaxMessage bytes.
type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) lineReader {
	return lineReader{bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line that is not blank, in memory of its own: go-qemu's
// transport hands out the scanner's buffer and overwrites it.
func (l lineReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > MaxMessage {
			return nil, errTooLong
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(bytes.TrimSpace(line)) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		line = nil
	}
}
