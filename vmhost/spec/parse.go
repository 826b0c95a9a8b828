package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"sigs.k8s.io/yaml"
)

// Sizes in bytes above which a document is not even parsed. A node's carries
// certificates. Together with the YAML library's bound on aliases they bound the
// memory that a hostile document can take.
const (
	MaxVMDocument   = 64 << 10
	MaxNodeDocument = 256 << 10
)

// ParseVM reads a VM document in YAML or JSON. An unknown or repeated field, a
// value of the wrong type and a second document are errors; the error is a
// Problems that names them all. Defaults and Validate are separate steps.
func ParseVM(data []byte) (VM, error) {
	var doc VM
	err := Unmarshal(data, MaxVMDocument, &doc)
	return doc, err
}

// ParseNode reads a node configuration document, as ParseVM does a VM's. An
// empty document is a valid one: everything has a default.
func ParseNode(data []byte) (Node, error) {
	var doc Node
	err := Unmarshal(data, MaxNodeDocument, &doc)
	return doc, err
}

// Unmarshal reads one YAML or JSON document of at most limit bytes into v, a
// pointer to a struct with json tags. Field names are compared exactly, which
// encoding/json does not do.
func Unmarshal(data []byte, limit int, v any) error {
	if len(data) > limit {
		return Problems{{"", fmt.Sprintf("document has %d bytes; at most %d are read", len(data), limit)}}
	}
	raw, err := toJSON(data)
	if err != nil {
		return Problems{{"", err.Error()}}
	}
	var p Problems
	p.decode("", raw, reflect.ValueOf(v).Elem())
	return p.err()
}

// toJSON gives the document's JSON form. JSON is taken as it is, as YAML
// forbids the tabs that JSON may be indented with.
func toJSON(data []byte) ([]byte, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		return trimmed, nil
	}
	if err := oneDocument(data); err != nil {
		return nil, err
	}
	raw, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	return raw, nil
}

// oneDocument refuses a stream of several YAML documents, of which the library
// would read the first and ignore the rest.
func oneDocument(data []byte) error {
	begun, ended := false, false
	for line := range bytes.Lines(data) {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
		text := bytes.TrimSpace(line)
		marker := len(line) >= 3 && (len(text) == 3 || len(line) > 3 && strings.ContainsRune(" \t", rune(line[3])))
		switch {
		case marker && bytes.HasPrefix(line, []byte("...")):
			ended = true
		case marker && bytes.HasPrefix(line, []byte("---")):
			if begun {
				return errors.New("more than one YAML document: give them one by one")
			}
			begun = true
		case len(text) == 0 || text[0] == '#' || line[0] == '%':
		case ended:
			return errors.New("more than one YAML document: give them one by one")
		default:
			begun = true
		}
	}
	return nil
}
