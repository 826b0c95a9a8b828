package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"casemate/vmhost/spec"

	"github.com/danielgtaylor/huma/v2"
)

// Problem is an RFC 9457 problem document as the client gets it.
type Problem struct {
	Status int          `json:"status"`
	Title  string       `json:"title"`
	Detail string       `json:"detail"`
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is one part of a Problem. Location is such as body.disks[0].volume.
type FieldError struct {
	Location string `json:"location,omitempty"`
	Message  string `json:"message"`
}

func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	for _, e := range p.Errors {
		text += "; " + strings.TrimPrefix(e.Location+": "+e.Message, ": ")
	}
	return text
}

// problemOf turns a Manager's error into the answer. An error that is no *Error
// is the node's fault, and its text stands in the answer all the same: whoever
// gets it has authenticated, and cannot log in to look.
func problemOf(err error) huma.StatusError {
	var refusal *Error
	var problems spec.Problems
	switch {
	case errors.As(err, &problems):
		details := make([]error, len(problems))
		for i, p := range problems {
			location := "body"
			if p.Path != "" {
				location += "." + p.Path
			}
			details[i] = &huma.ErrorDetail{Location: location, Message: p.Message}
		}
		return huma.NewError(http.StatusUnprocessableEntity, "the document is not valid", details...)
	case errors.As(err, &refusal):
		status := refusal.Status
		if status < 400 || status > 599 {
			status = http.StatusInternalServerError
		}
		return huma.NewError(status, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return huma.NewError(http.StatusGatewayTimeout, err.Error())
	}
	return huma.NewError(http.StatusInternalServerError, err.Error())
}

// WriteProblem answers a request with a problem document where huma is not at
// work, as in the gateway.
func WriteProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Status: status, Title: http.StatusText(status), Detail: detail})
}
